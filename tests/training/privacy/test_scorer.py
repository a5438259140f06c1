from __future__ import annotations

from math import inf
from pathlib import Path

import numpy as np
import pytest

from decoders.rewards.features import NAMES
from decoders.rewards.scorer import read
from training.__main__ import main as train
from training.privacy.budget import Budget
from training.privacy.candidates import Candidate, Question, write
from training.privacy.candidates import read as read_questions
from training.privacy.scorer import BOUND, Answers, fit, nothing, release, scorer, sensitivity

STRENGTH = 0.05


def questions(n: int, seed: int, right: float = 0.5) -> list[Question]:
    """Answers of which the right ones hold and reach the target, and the wrong ones do one of these at most."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        a, b = map(int, rng.integers(2, 12, 2))
        good = [f"{a} * {b} = {a * b}", f"{b} * {a} = {a * b}"]
        bad = [f"{a} + {b} = {a * b}", f"{a} + {b} = {a + b}", f"{a + 13} * {b} = {(a + 13) * b}", "I cannot say"]
        truths = rng.random(4) < right
        answers = tuple(Candidate(text=str(rng.choice(good if t else bad)), right=bool(t)) for t in truths)
        found.append(Question(question=f"Use {a} {b} to make {a * b}", answers=answers))
    return found


def chosen(weights: np.ndarray, asked: list[Question]) -> float:
    made = scorer(weights, 0, None)
    best = [max(q.answers, key=lambda a: made.mark(q.question, a.text)) for q in asked]
    return sum(answer.right for answer in best) / len(best)


def test_rows_stay_within_the_bound_that_privacy_rests_on() -> None:
    strange = ["", "1" * 5000, "=" * 99, "2 / 0 = 5 " * 400, "−1 × 3 = -3", "9 * 9 = 81 and \\boxed{81}", "７ + ٣ = 10"]
    asked = [Question(question=text, answers=tuple(Candidate(text=t, right=True) for t in strange)) for text in strange]
    assert np.linalg.norm(Answers.of(asked).rows, axis=1).max() <= BOUND + 1e-12


def test_the_fit_is_the_minimiser() -> None:
    answers = Answers.of(questions(40, 1))
    found = fit(answers, STRENGTH, nothing())
    chances = 1 / (1 + np.exp(-answers.rows @ found))
    gradient = answers.rows.T @ (answers.weights * (chances - answers.right)) + STRENGTH * found
    assert np.linalg.norm(gradient) < 1e-8


@pytest.mark.parametrize("n", [5, 60])
def test_no_question_moves_the_fit_by_more_than_the_sensitivity(n: int) -> None:
    base = questions(n, 1)
    before = fit(Answers.of(base), STRENGTH, nothing())
    wrong = tuple(Candidate(text=answer.text, right=not answer.right) for answer in base[0].answers)
    others = [Question(question="", answers=()), base[0].model_copy(update={"answers": wrong}), *questions(5, 9)]
    moved = [np.linalg.norm(fit(Answers.of([other, *base[1:]]), STRENGTH, nothing()) - before) for other in others]
    assert 0 < max(moved) <= sensitivity(n, STRENGTH)


def test_a_release_is_the_fit_with_exactly_the_noise_of_its_budget() -> None:
    answers, budget = Answers.of(questions(50, 2)), Budget.approximate(2.0, 1e-6)
    exact, rng = fit(answers, STRENGTH, nothing()), np.random.default_rng(0)
    found = [release(answers, STRENGTH, nothing(), budget, rng) for _ in range(300)]
    noise = np.concatenate([one.weights - exact for one in found])
    assert found[0].noise == pytest.approx(sensitivity(50, STRENGTH) / budget.mu)
    assert noise.std() == pytest.approx(found[0].noise, rel=0.05)
    assert abs(noise.mean()) < 0.1 * found[0].noise
    told = found[0].privacy(1e-6)
    assert (told.epsilon, told.rho, told.private) == (pytest.approx(2.0), pytest.approx(budget.mu**2 / 2), 50)


def test_a_mixture_keeps_to_the_public_fit_where_noise_explains_the_gap_and_leaves_it_where_not() -> None:
    public, private = Answers.of(questions(60, 3)), Answers.of(questions(400, 4))
    start, rng = fit(public, STRENGTH, nothing()), np.random.default_rng(0)
    noisy = release(private, STRENGTH, start, Budget(0.01), rng).drawn_to(start)
    assert np.linalg.norm(noisy - start) < 0.6 * sensitivity(400, STRENGTH) / 0.01
    exact = release(private, STRENGTH, start, Budget(inf), rng)
    assert np.allclose(exact.drawn_to(start), exact.weights)


def test_public_and_private_scorers_choose_well_and_mixing_saves_a_noisy_one() -> None:
    held_out = [q for q in questions(200, 5) if any(a.right for a in q.answers)]
    public, private = Answers.of(questions(100, 6)), Answers.of(questions(100, 7))
    start, rng = fit(public, STRENGTH, nothing()), np.random.default_rng(1)
    spent = Budget.approximate(0.5, 1e-5)
    alone = [chosen(release(private, STRENGTH, nothing(), spent, rng).weights, held_out) for _ in range(20)]
    both = [chosen(release(private, STRENGTH, start, spent, rng).drawn_to(start), held_out) for _ in range(20)]
    assert chosen(start, held_out) > 0.95
    assert chosen(fit(private, STRENGTH, nothing()), held_out) > 0.95
    assert np.mean(both) > np.mean(alone) + 0.05


def test_the_command_writes_a_scorer_with_its_promise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: str(tmp_path / f"{name}.jsonl") for name in ("public", "private")}
    write(Path(files["public"]), questions(30, 1))
    write(Path(files["private"]), questions(80, 2))
    judge = tmp_path / "judge.json"
    data = ["--public", files["public"], "--private", files["private"]]
    words = ["privacy", "scorer", *data, "--epsilon", "4", "--delta", "1e-5", "--output", str(judge)]
    assert train(words) == 0
    made = read(judge)
    assert made.public == 30
    assert made.privacy is not None
    assert (made.privacy.private, made.privacy.delta) == (80, 1e-5)
    assert made.privacy.epsilon == pytest.approx(4.0)
    assert "a question with all of its answers" in capsys.readouterr().out
    assert train(words) == 0
    assert read(judge).weights != made.weights, "fresh noise each time"
    assert train(["privacy", "scorer", *data[2:], "--output", str(judge)]) == 2
    assert "how private" in capsys.readouterr().err


def test_a_public_scorer_promises_nothing(tmp_path: Path) -> None:
    write(tmp_path / "public.jsonl", questions(30, 1))
    judge = tmp_path / "judge.json"
    assert train(["privacy", "scorer", "--public", str(tmp_path / "public.jsonl"), "--output", str(judge)]) == 0
    assert read(judge).privacy is None


def test_compare_tells_of_every_scorer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["privacy", "compare", "--epsilon", "1", "--draws", "3"]
    for seed, name in enumerate(("public", "private", "held-out")):
        write(tmp_path / name, questions(40, seed))
        words += [f"--{name}", str(tmp_path / name)]
    assert train(words) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("public scorer", "mixed scorer, epsilon 1", "any answer right"))


def test_answers_are_sampled_as_the_decoders_sample(small: Path, tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    words = ["--level", "easy", "--problems", "2", "--n", "2", "--max-tokens", "8", "--output", str(file)]
    assert train(["privacy", "sample", "--model", str(small), *words]) == 0
    found = read_questions(file)
    assert len(found) == 2
    assert all(q.question.startswith("Use ") and len(q.answers) <= 2 for q in found)


def test_a_line_that_is_no_question_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"question": "x", "answers": []}\n{"question": 3}\n')
    with pytest.raises(ValueError, match="line 2"):
        read_questions(tmp_path / "bad.jsonl")


def test_all_features_are_weighed() -> None:
    assert set(scorer(nothing(), 0, None).weights) == set(NAMES)
