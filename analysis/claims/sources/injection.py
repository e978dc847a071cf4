"""Claims of "Improving neural network plasticity in reinforcement learning" (Cheng, Chen, Ma)."""

from collections.abc import Sequence

from analysis.claims import rules
from analysis.claims.experiments import point_mass
from analysis.claims.ledger import Claim, Test

_IQL = point_mass.NAMES
_RETURN = point_mass.QUANTITY

CLAIMS: Sequence[Claim] = (
    Claim(
        "P1",
        "On MsPacman all techniques beat DQN about equally, LayerNorm most.",
        note="seven techniques of 2M steps need a GPU: configs/ms_pacman_dqn.py",
    ),
    Claim("P2", "Returns on MsPacman settle near 2M steps.", note="needs a GPU", is_testable=False),
    Claim("P3", "Injection at 1M steps helps after a dip.", note="as P1"),
    Claim("P4", "The effective rank falls, then rises; LayerNorm's is highest.", note="as P1"),
    Claim("P5", "Weights grow in all arms, less with L2.", note="as P1"),
    Claim("P6", "Few units are updated in plain DQN, all of them under L2.", note="as P1"),
    Claim("P7", "Large weights and few updated units accompany instability.", note="as P1"),
    Claim("P8", "LayerNorm smooths the loss.", note="as P1"),
    Claim("P9", "L2 from late on, or now and then, harms early learning less.", note="as P1"),
    Claim(
        "P10",
        "IQL on PointmassHard ends at the same return, injected once, twice or never.",
        (
            Test(
                "point_mass_iql",
                rules.ends_the_same(_RETURN, [(_IQL[1], _IQL[0]), (_IQL[2], _IQL[1])], margin=5.0),
            ),
        ),
        "original scale; the moments of injection are not told by the source",
    ),
    Claim(
        "P11",
        "Injected once, IQL gets there later: injection does not make it faster.",
        (Test("point_mass_iql", rules.reaches_later(_RETURN, _IQL[1], _IQL[0], threshold=-50.0)),),
    ),
    Claim(
        "P12", "LunarLander's DQN with injection.", note="configs/lunar_lander_dqn.py; no result"
    ),
    Claim(
        "P13",
        "A toy problem of classes with regularization.",
        note="arms l2_init of classification_stream; mentioned without a result",
    ),
    Claim("P14", "The moment of injection can be chosen by a metric."),
    Claim("P15", "Plasticity falls as training goes on.", note="see N14"),
    Claim("P16", "A low effective rank and large weights accompany plasticity loss.", note="as P1"),
)
