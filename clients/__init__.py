"""Clients of a longthink server: for Python here, for the terminal in `clients.terminal`.

Rule: nothing of the other packages is imported, so this one works beside any server.
"""

from clients.client import AsyncLongThink, LongThink
from clients.decoders import Decoder
from clients.events import Acted, Event, Finished, Said, StepEnded, Thought
from clients.progress import Progress
from clients.request import Budget
from clients.run import AsyncRun, Run
from clients.tape import Unfinished
from clients.trace import Trace, UnreadableTrace

__all__ = [
    "Acted",
    "AsyncLongThink",
    "AsyncRun",
    "Budget",
    "Decoder",
    "Event",
    "Finished",
    "LongThink",
    "Progress",
    "Run",
    "Said",
    "StepEnded",
    "Thought",
    "Trace",
    "Unfinished",
    "UnreadableTrace",
]
