"""Claims of "Improving neural network plasticity in reinforcement learning" (Cheng, Chen, Ma)."""

import math
from collections.abc import Sequence

from analysis.claims import ledger, rules
from analysis.claims.experiments import classification, evaluated
from analysis.claims.ledger import Claim, Test
from analysis.claims.sources import normalization

_IQL = evaluated.IQL
_RETURN = evaluated.QUANTITY
_ARMS = {arm: classification.name("mse", arm) for arm in classification.TECHNIQUES}
_PLAIN, _L2, _NORM, _INJECTED = (_ARMS[arm] for arm in ("plain", "l2", "ln_after", "injection"))
_REWARD = classification.QUANTITY
_SCHEDULED_L2 = [_ARMS["incremental_l2"], _ARMS["periodic_l2"]]


def _with(*found: ledger.Rule) -> tuple[Test]:
    """The test on the stream, of all of some rules."""
    return (Test("techniques", rules.all_of(*found)),)


def _each_above(quantity: str, arms: Sequence[str], other: str) -> ledger.Rule:
    return rules.all_of(*(rules.differs(quantity, x, [other], rules.ABOVE_0) for x in arms))


CLAIMS: Sequence[Claim] = (
    Claim(
        "P1",
        "On MsPacman all techniques beat DQN about equally, LayerNorm most.",
        _with(
            _each_above(_REWARD, [x for x in _ARMS.values() if x != _PLAIN], _PLAIN),
            rules.differs(
                _REWARD,
                _NORM,
                [x for x in _ARMS.values() if x not in (_PLAIN, _NORM)],
                rules.ABOVE_0,
            ),
        ),
        "how equally is not tested; on MsPacman, seven techniques of 2M steps need a GPU: "
        "configs/ms_pacman_dqn.py",
    ),
    Claim("P2", "Returns on MsPacman settle near 2M steps.", note="needs a GPU", is_testable=False),
    Claim(
        "P3",
        "Injection at 1M steps helps after a dip.",
        _with(
            rules.differs_at(_REWARD, _INJECTED, [_PLAIN], rules.BELOW_0, classification.INJECTED),
            rules.differs(_REWARD, _INJECTED, [_PLAIN], rules.ABOVE_0),
        ),
        "the dip: below plain DQN in the first task after it",
    ),
    Claim(
        "P4",
        "The effective rank falls, then rises; LayerNorm's is highest.",
        _with(
            rules.differs(
                "weight_effective_rank",
                _NORM,
                [x for x in _ARMS.values() if x not in (_NORM, _INJECTED)],
                rules.ABOVE_0,
            )
        ),
        "that LayerNorm's is highest; when ranks rise is a matter of one long task",
    ),
    Claim(
        "P5",
        "Weights grow in all arms, less with L2.",
        _with(
            rules.changes(
                "weight_magnitude", [x for x in _ARMS.values() if x != _INJECTED], rules.ABOVE_0
            ),
            *(
                rules.differs("weight_magnitude", x, [_PLAIN], rules.BELOW_0)
                for x in (_L2, *_SCHEDULED_L2)
            ),
        ),
        "without the arm of injection, whose networks are three",
    ),
    Claim(
        "P6",
        "Few units are updated in plain DQN, all of them under L2.",
        _with(
            rules.ends_within("updated_units", _PLAIN, (-math.inf, 0.9)),
            rules.ends_within("updated_units", _L2, (0.99, math.inf)),
        ),
        "all of them because a regularizer's gradient is not 0: without it, see updated_units_td",
    ),
    Claim(
        "P7",
        "Large weights and few updated units accompany instability.",
        _with(
            rules.goes_with("weight_magnitude", _REWARD, _PLAIN, rules.BELOW_0),
            rules.goes_with("updated_units", _REWARD, _PLAIN, rules.ABOVE_0),
        ),
        "in plain DQN, seed by seed with what it loses; instability of one long run on MsPacman "
        "needs a GPU",
    ),
    Claim(
        "P8",
        "LayerNorm smooths the loss.",
        (
            Test(
                "values",
                rules.differs("sharpness", "values_ln", ["values_plain"], rules.BELOW_0),
            ),
        ),
        "by the largest eigenvalue of the loss's Hessian",
    ),
    Claim(
        "P9",
        "L2 from late on, or now and then, harms early learning less.",
        _with(
            *(rules.differs_early(_REWARD, x, [_L2], rules.ABOVE_0) for x in _SCHEDULED_L2),
            rules.differs_early(_REWARD, _L2, [_PLAIN], rules.BELOW_0),
        ),
    ),
    Claim(
        "P10",
        "IQL on PointmassHard ends at the same return, injected once, twice or never.",
        (
            Test(
                "point_mass_iql",
                rules.all_of(
                    rules.has_learned(_RETURN, _IQL[0], least=-80.0),
                    rules.ends_the_same(
                        _RETURN, [(_IQL[1], _IQL[0]), (_IQL[2], _IQL[1])], margin=5.0
                    ),
                ),
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
        "P12",
        "LunarLander's DQN with injection.",
        (
            Test(
                "lunar_lander",
                rules.all_of(
                    rules.has_learned(_RETURN, evaluated.LANDERS[0], least=0.0),
                    rules.differs(
                        _RETURN, evaluated.LANDERS[1], [evaluated.LANDERS[0]], rules.ABOVE_0
                    ),
                ),
            ),
        ),
        "mentioned without a result; tested is that injection helps",
    ),
    Claim(
        "P13",
        "A toy problem of classes with regularization.",
        _with(
            _each_above(_REWARD, [_ARMS[x] for x in classification.REGULARIZED], _PLAIN),
        ),
        "mentioned without a result; tested is that each regularizer helps",
    ),
    Claim(
        "P14",
        "The moment of injection can be chosen by a metric.",
        (
            Test(
                "injections",
                rules.all_of(
                    rules.differs(
                        _REWARD, "injected_when_rank_falls", ["injected_never"], rules.ABOVE_0
                    ),
                    rules.differs(
                        _REWARD,
                        "injected_when_rank_falls",
                        ["injected_at_half"],
                        (-0.04, math.inf),
                    ),
                ),
            ),
        ),
        "better than never, and not worse than at half by more than 0.04",
    ),
    Claim(
        "P15",
        "Plasticity falls as training goes on.",
        normalization.LOSS_OF_PLASTICITY,
        f"by the rules of N14: {normalization.LOSS_AT_ONE_RATE}",
    ),
    Claim(
        "P16",
        "A low effective rank and large weights accompany plasticity loss.",
        _with(
            rules.falls_below_first(_REWARD, _PLAIN),
            rules.falls_below_first("feature_effective_rank", _PLAIN),
            rules.changes("weight_magnitude", [_PLAIN], rules.ABOVE_0),
        ),
        "in plain DQN",
    ),
)
