"""Which networks of torchvision and timm can be explained, tried one by one.

    python -m benchmarks.networks --log DIR [--output docs/networks.md] [--minutes 40]

Each network gets random weights, is saved, loaded and explained, and compared with the library
itself and with pytorch-grad-cam. What was found is kept line by line in the log's folder: a run
that ends early goes on where it was, and --minutes 0 writes the page from what is there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import torch

from benchmarks.networks_check import (
    LIBRARIES,
    Outcome,
    check,
    family_of,
    names_of,
    parameters_of,
)
from benchmarks.networks_report import report

MILLION = 1_000_000
FIRST_OF_FAMILY = 1
Key = tuple[str, str]  # library, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--log", type=Path, required=True, help="folder of what was found so far")
    parser.add_argument("--output", type=Path, help="Markdown file that is written")
    parser.add_argument("--library", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--names", nargs="+", help="only these, also if they were tried before")
    parser.add_argument("--most-parameters", type=int, default=120, help="in millions")
    parser.add_argument("--minutes", type=float, help="begin no network after that time")
    parser.add_argument("--processes", type=int, default=1, help="each on one thread")
    arguments = parser.parse_args()
    arguments.log.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * arguments.minutes if arguments.minutes is not None else None
    sizes = sized(arguments.log, arguments.library)
    todo = chosen(sizes, arguments)
    run(todo, arguments, until)
    outcomes = read(arguments.log)
    if arguments.output is not None:
        lines = report(sizes, outcomes, arguments.most_parameters * MILLION)
        arguments.output.write_text("\n".join(lines) + "\n")


def sized(log: Path, libraries: Sequence[str]) -> dict[Key, Outcome]:
    """All networks with their numbers of parameters, from the log or counted now."""
    path = log / "sizes.jsonl"
    known = {key: outcome for key, outcome in _records(path) if outcome is not None}
    with path.open("a") as file:
        for library in libraries:
            for name in names_of(library):
                if (library, name) not in known:
                    known[library, name] = _sized(library, name)
                    _write(file, known[library, name].as_json())
    return {key: outcome for key, outcome in known.items() if key[0] in libraries}


def _sized(library: str, name: str) -> Outcome:
    family = family_of(library, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Outcome(library, name, family, parameters_of(library, name))
    except Exception:
        return Outcome(library, name, family, 0)


def chosen(sizes: dict[Key, Outcome], arguments: argparse.Namespace) -> list[Outcome]:
    """Those to be tried: torchvision's first; of each library one of each family, then the rest.

    Smallest first: a run that ends early has been through all families.
    """
    done = read(arguments.log)
    wanted = [
        one
        for key, one in sizes.items()
        if (one.name in arguments.names if arguments.names else key not in done)
        and one.parameters <= arguments.most_parameters * MILLION
    ]
    in_turn = sorted(wanted, key=lambda one: (one.parameters, one.name))
    seen = Counter((one.library, one.family) for one in done.values())
    is_first: dict[Key, bool] = {}
    for one in in_turn:
        seen[one.library, one.family] += 1
        is_first[one.library, one.name] = seen[one.library, one.family] <= FIRST_OF_FAMILY
    return sorted(
        in_turn,
        key=lambda one: (LIBRARIES.index(one.library), not is_first[one.library, one.name]),
    )


def run(todo: Sequence[Outcome], arguments: argparse.Namespace, until: float | None) -> None:
    """Try them, in so many processes; each writes a log of its own."""
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_work, args=(part, arguments.log, number, until))
        for number in range(arguments.processes)
        if (part := todo[number :: arguments.processes])
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(part: Sequence[Outcome], log: Path, number: int, until: float | None) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with (log / f"outcomes-{number}.jsonl").open("a") as file:
        for place, one in enumerate(part, start=1):
            if until is not None and time.monotonic() > until:
                return
            # Where a network ends the process, this line is left of it.
            _write(file, {"began": [one.library, one.name]})
            outcome = check(one.library, one.name, one.parameters)
            _write(file, outcome.as_json())
            said = outcome.problem or "ok"
            print(f"{place}/{len(part)} {one.name}: {said} ({outcome.seconds} s)", flush=True)


def read(log: Path) -> dict[Key, Outcome]:
    """The latest outcome of each network; one that twice ended its process has that for a reason.

    Once may have been somebody who ended it.
    """
    found: dict[Key, Outcome] = {}
    begun: Counter[Key] = Counter()
    sizes = dict(_records(log / "sizes.jsonl"))
    for path in sorted(log.glob("outcomes-*.jsonl")):
        for key, outcome in _records(path):
            if outcome is None:
                begun[key] += 1
            else:
                found[key] = outcome
                del begun[key]
    twice = (key for key, times in begun.items() if times > 1)
    return {**found, **{key: _ended(sizes[key]) for key in twice}}


def _ended(size: Outcome | None) -> Outcome:
    if size is None:
        raise ValueError("the log has a network that sizes.jsonl lacks")
    record = {**size.as_json(), "reason": "it ended the process that tried it"}
    return Outcome.from_json(record)


def _records(path: Path) -> Iterator[tuple[Key, Outcome | None]]:
    """(library, name) with its outcome, or None where it only began."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            record = json.loads(line)
        except ValueError:  # half a line of a run that was ended
            continue
        if "began" in record:
            library, name = record["began"]
            yield (library, name), None
        else:
            yield (record["library"], record["name"]), Outcome.from_json(record)


def _write(file: TextIO, record: dict[str, Any]) -> None:
    file.write(json.dumps(record) + "\n")
    file.flush()


if __name__ == "__main__":
    main()
