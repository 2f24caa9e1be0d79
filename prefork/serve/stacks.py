"""Where is the app with one request? Found out for a request that hangs, so it may cost something.

A coroutine that is suspended has its frames in a chain of awaits, a thread has them on its stack. Which of them are
this request's is told by our own frame at the bottom: its `self` is the request's exchange. One that waits for a call
in another thread (`asyncio.to_thread`, anyio, so every plain function of FastAPI's) shares an object with that thread.
"""

from __future__ import annotations

import asyncio
import linecache
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from prefork.serve.stepping import REST_CODE

FRAMES_MAX = 30
OURS = str(Path(__file__).parent.parent) + os.sep
SHARED = ("future", "func_call")
"""What anyio and asyncio call the variables by which a coroutine's thread can be found."""


def find_coroutine_stack(
    tasks: Iterable[asyncio.Task[None]], bottom: CodeType, owner: object
) -> list[FrameType]:
    """The frames above the one that runs `bottom` for `owner`, in whichever of these tasks it is."""
    for task in tasks:
        found = _cut_below(list(_walk_awaits(task.get_coro())), bottom, owner)
        if found:
            return found + _find_called_thread(found[-1])
    return []


def find_thread_stack(bottom: CodeType, owner: object) -> list[FrameType]:
    """The same in any thread."""
    for frame in sys._current_frames().values():  # noqa: SLF001  # documented, in spite of its name
        found = _cut_below(list(_walk_back(frame))[::-1], bottom, owner)
        if found:
            return found
    return []


def render_stack(frames: list[FrameType]) -> str:
    """As a traceback shows it; ours at the bottom, and those past a bound, are left out."""
    while frames and frames[0].f_code.co_filename.startswith(OURS):
        frames = frames[1:]
    lines = []
    for frame in frames[-FRAMES_MAX:]:
        code = frame.f_code
        lines.append(f'  File "{code.co_filename}", line {frame.f_lineno}, in {code.co_name}')
        if source := linecache.getline(code.co_filename, frame.f_lineno, frame.f_globals).strip():
            lines.append(f"    {source}")
    return "\n".join(lines)


def _walk_awaits(awaited: Any) -> Iterator[FrameType]:
    while awaited is not None:
        frame = next(
            (frame for kind in ("cr", "gi", "ag") if (frame := getattr(awaited, f"{kind}_frame", None))), None
        )
        if frame is None:
            return
        yield frame
        if frame.f_code is REST_CODE:  # it goes on with a coroutine that it does not await
            awaited = frame.f_locals.get("call")
            continue
        awaited = next(
            (
                inner
                for name in ("cr_await", "gi_yieldfrom", "ag_await")
                if (inner := getattr(awaited, name, None))
            ),
            None,
        )


def _find_called_thread(frame: FrameType) -> list[FrameType]:
    wanted = [shared for name in SHARED if (shared := frame.f_locals.get(name)) is not None]
    for innermost in sys._current_frames().values() if wanted else ():  # noqa: SLF001
        frames = list(_walk_back(innermost))[::-1]
        for index, each in enumerate(frames):
            own = [each.f_locals.get("future"), getattr(each.f_locals.get("self"), "fn", None)]
            if any(one is another for one in own for another in wanted):
                return frames[index + 1 :]
    return []


def _walk_back(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _cut_below(frames: list[FrameType], bottom: CodeType, owner: object) -> list[FrameType]:
    for index, frame in enumerate(frames):
        if frame.f_code is bottom and frame.f_locals.get("self") is owner:
            return frames[index + 1 :]
    return []
