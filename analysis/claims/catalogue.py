"""Every claim of the source documents, in their order.

The numbers behind these claims are not known here; what is tested is their direction.
"""

from collections.abc import Sequence

from analysis.claims.ledger import Claim
from analysis.claims.sources import disentangling, injection, normalization

CLAIMS: Sequence[Claim] = (*normalization.CLAIMS, *disentangling.CLAIMS, *injection.CLAIMS)
