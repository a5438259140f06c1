"""Everything that can go wrong below the HTTP layer, as one tree.

LongThinkError
├── BudgetExhausted          the purse or the deadline is spent; `events` turns it into the best answer so far
├── InvalidRequest           the caller asked for something that cannot be done; names the parameter
│   ├── UnknownModel
│   ├── UnknownDecoder
│   ├── OutOfScope           the question is outside what the checkpoint was trained for
│   ├── MissingPrompt        the model's template pack lacks a prompt that the decoder needs
│   ├── NoEnvironment        a decoder acts where there is no environment, or where the episode is not its own
│   └── ContextOverflow      the prompt and its completion do not fit into the model's context
├── EngineError              the engine failed in the middle of a call
│   └── EngineUnavailable    the engine is dead or not ready; nothing was generated
├── EnvironmentFailed        an environment hung, died or sent what nobody can read
├── NotKept                  a tenant cannot be taken out without its contribution, which was not kept
├── InvalidOutput            the model's answer has not the form that the caller asked for
└── ReplayMismatch           a recorded trace does not belong to this decoder, pack or question
"""

from __future__ import annotations


class LongThinkError(Exception):
    """Root of every error this project raises on purpose."""


class BudgetExhausted(LongThinkError):
    """The purse or the deadline has nothing left for another call."""


class InvalidRequest(LongThinkError):
    """The caller's mistake: `param` names the field, `code` is a stable string for programs."""

    code = "invalid_value"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        if code is not None:
            self.code = code


class UnknownModel(InvalidRequest):
    """No served model has this name."""

    code = "model_not_found"


class UnknownDecoder(InvalidRequest):
    """No decoder has this name."""

    code = "decoder_not_found"


class OutOfScope(InvalidRequest):
    """The checkpoint was never taught questions of this kind."""

    code = "question_out_of_scope"


class MissingPrompt(InvalidRequest):
    """The model's template pack lacks a prompt that the decoder needs."""

    code = "decoder_not_supported"


class NoEnvironment(InvalidRequest):
    """There is nothing to act in."""

    code = "environment_required"


class ContextOverflow(InvalidRequest):
    """Prompt tokens and completion tokens together exceed the context."""

    code = "context_length_exceeded"


class EngineError(LongThinkError):
    """The engine failed while it was generating."""


class EngineUnavailable(EngineError):
    """The engine cannot take calls."""


class EnvironmentFailed(LongThinkError):
    """An environment cannot go on: it hung, died, refused the episode or sent what nobody can read."""


class NotKept(LongThinkError):
    """A tenant cannot be taken out of a merged model without its contribution, which has to be made again."""


class InvalidOutput(LongThinkError):
    """Neither the answer nor the attempts before it have the form that the caller asked for."""


class ReplayMismatch(LongThinkError):
    """What was recorded under a key answers another prompt, or the world no longer answers as it did."""
