"""When periodic work is due, in every mode of running."""


def is_completed(period_frames: int, before: int, frames: int) -> bool:
    """Whether a multiple of a period (0: never) was completed after `before` frames."""
    return bool(period_frames) and frames // period_frames > before // period_frames
