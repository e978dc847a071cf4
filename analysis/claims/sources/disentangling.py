"""Claims of "Disentangling the causes of plasticity loss in neural networks" (Lyle et al. 2024)."""

from collections.abc import Sequence

from analysis.claims.ledger import Claim

_NOT_BUILT = "its experiment is not built yet"

CLAIMS: Sequence[Claim] = (
    Claim("D1", "Several mechanisms are independent: mending one is not enough.", note=_NOT_BUILT),
    Claim("D2", "LayerNorm with weight decay is robust on synthetic streams.", note=_NOT_BUILT),
    Claim("D3", "LayerNorm with weight decay helps in the ALE.", note="on Atari it needs GPUs"),
    Claim("D4", "Beside dead units there are linearized ones.", note=_NOT_BUILT),
    Claim("D5", "Large targets destroy plasticity in regression.", note=_NOT_BUILT),
    Claim("D6", "The tangent kernel becomes pathological in all cases.", note=_NOT_BUILT),
    Claim("D7", "Abrupt changes harm more than gradual ones.", note=_NOT_BUILT),
    Claim("D8", "Changing labels, changing inputs and growing data differ.", note=_NOT_BUILT),
    Claim("D9", "Rescaling weights without a norm slows learning.", note=_NOT_BUILT),
)
