"""chrF, the F-score of character n-grams (Popović 2015), as sacrebleu computes it."""

from __future__ import annotations

from collections.abc import Sequence

from charlm.errors import UsageError


def check_chrf() -> None:
    """Raise UsageError where sacrebleu is not installed."""
    try:
        import sacrebleu  # noqa: F401
    except ImportError:
        raise UsageError(
            "chrf needs sacrebleu, which is not installed: pip install sacrebleu"
        ) from None


def chrf(said: Sequence[str], gold: Sequence[Sequence[str]]) -> float:
    """Return chrF2, from 0 to 100, of texts over their references, one or more each; raises as
    `check_chrf`."""
    check_chrf()
    from sacrebleu.metrics import CHRF

    most = max(map(len, gold))
    columns = [[some[k] if k < len(some) else None for some in gold] for k in range(most)]
    return float(CHRF().corpus_score(list(said), columns).score)
