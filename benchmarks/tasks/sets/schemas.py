"""The sets that are published as tables: where they are on the Hugging Face hub, and what their columns mean.

Rule: all that is particular about a set is its row here. Names and columns are those of the dataset cards, below
huggingface.co/datasets/ :

- `aime`: MathArena/aime_2024_I, aime_2024_II, aime_2025, aime_2026; `hmmt`: MathArena/hmmt_feb_2025 and its siblings.
  `problem_idx` counts within one contest, so it is no id.
- `deepscaler`: agentica-org/DeepScaleR-Preview-Dataset, `problem`, `answer`, `solution`; a few answers are empty.
- `dapo`: open-r1/DAPO-Math-17k-Processed (its create_dataset.py), which has each question once.
  BytedTsinghua-SIA/DAPO-Math-17k has it a hundred times, in the same columns: its file is read as well.
- `omni_math`: KbsdJames/Omni-MATH, `difficulty` a number from 1 to 10; its only split is called test.
- `imo_answerbench`: Hwilner/imo-answerbench, the CSV file of github.com/google-deepmind/superhuman.
- `math_500`: HuggingFaceH4/MATH-500, `level` from 1 to 5.
- `gpqa`: Idavidrein/gpqa, to be applied for on the hub; the right answer and three wrong ones in columns of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Hub:
    """A split of a dataset on the hub, or a folder of the same form."""

    name: str
    split: str
    config: str | None = None


@dataclass(frozen=True, eq=False)
class Schema:
    """What a set's columns are called (`a.b` is the field b of a struct a), and which level is to be had where."""

    problem: str = "problem"
    answer: str = "answer"
    wrong: tuple[str, ...] = ()
    """Columns of the wrong options: with them, it is multiple choice."""
    id: str | None = None
    difficulty: str | None = None
    """A number, for levels to name a range of. A file may have it where the hub has not: one's own measured success."""
    frame: str = ""
    """A pattern of what stands around the question and does not belong to it."""
    hub: Mapping[str, tuple[Hub, ...]] = field(default_factory=dict)
    free: bool = False
    """Whether answers are free words, which only a judge can tell right from wrong."""
    held_out: bool = True
    """All of it is for testing. Otherwise a hash cuts it into train, dev and test."""


def _arena(*contests: str) -> tuple[Hub, ...]:
    return tuple(Hub(f"MathArena/{contest}", "train") for contest in contests)


SETS: Mapping[str, Schema] = {
    "aime": Schema(
        hub={
            "2024": _arena("aime_2024_I", "aime_2024_II"),
            "2025": _arena("aime_2025"),
            "2026": _arena("aime_2026"),
        },
    ),
    "hmmt": Schema(
        hub={month: _arena(f"hmmt_{month}") for month in ("feb_2023", "feb_2024", "feb_2025", "nov_2025", "feb_2026")},
    ),
    "deepscaler": Schema(
        difficulty="difficulty",
        hub={"all": (Hub("agentica-org/DeepScaleR-Preview-Dataset", "train"),)},
        held_out=False,
    ),
    "dapo": Schema(
        problem="prompt",
        answer="reward_model.ground_truth",
        id="extra_info.index",
        difficulty="difficulty",
        frame=r"^Solve the following math problem[^\n]*\n+|\n+Remember to put your answer[^\n]*$",
        hub={config: (Hub("open-r1/DAPO-Math-17k-Processed", "train", config),) for config in ("en", "cn")},
        held_out=False,
    ),
    "omni_math": Schema(difficulty="difficulty", hub={"all": (Hub("KbsdJames/Omni-MATH", "test"),)}, held_out=False),
    "imo_answerbench": Schema(
        problem="Problem",
        answer="Short Answer",
        id="Problem ID",
        hub={"all": (Hub("Hwilner/imo-answerbench", "train"),)},
    ),
    "math_500": Schema(id="unique_id", difficulty="level", hub={"all": (Hub("HuggingFaceH4/MATH-500", "test"),)}),
    "gpqa": Schema(
        problem="Question",
        answer="Correct Answer",
        wrong=("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"),
        id="Record ID",
        hub={kind: (Hub("Idavidrein/gpqa", "train", f"gpqa_{kind}"),) for kind in ("diamond", "main", "extended")},
    ),
    "questions": Schema(id="id", difficulty="difficulty", held_out=False),
    "open": Schema(id="id", difficulty="difficulty", free=True, held_out=False),
}
"""`questions` is anybody's own file, and `open` one whose answers are free words."""
