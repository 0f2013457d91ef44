"""How a call to a local model fails."""

from __future__ import annotations

from headrace.models.failure import Failure


class LocalFailure(Exception):
    """A call to a local model gave no answer.

    | failure      | when                                                                                |
    |--------------|-------------------------------------------------------------------------------------|
    | bad request  | the model raised on this input, and answered others (see `isolation.py`); too large |
    | server error | the model raised on all, returned no JSON, or the wrong number of outputs           |
    | connection   | the worker process died with it, or none can be started                             |
    | timeout      | the deadline passed, or the batch ran over its limit and its worker was killed      |
    | overloaded   | the queue is full                                                                   |

    Attributes
    ----------
    failure
        What it says about the model, for the router.
    message
        What happened, for people.
    """

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
