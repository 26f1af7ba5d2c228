"""The commands: each calls one function of the Python interface and shows what came of it."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

from . import console, reports, streams
from .errors import InrzipError
from .options import UsageError
from .units import format_size

DONE, FAILED = 0, 1
INTERRUPTED = 130  # as shells report a process ended by SIGINT
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NPROC")  # NPROC: XLA's thread pool
_ONE_THREAD_FLAG = "--xla_cpu_multi_thread_eigen=false"

# Whether a job succeeded, and its result for --json.
Outcome = tuple[bool, object]


def run(opts: argparse.Namespace) -> int:
    """Runs the command that `parse_arguments` read, and returns the exit status. Raises `UsageError`."""
    machine = _attempt(opts, "--device", functools.partial(_choose_machine, opts))
    return _COMMANDS[opts.verb](opts) if machine[0] else _finish(opts, [machine])


def _api() -> ModuleType:
    """The Python interface, which loads its parts when they are first used."""
    return importlib.import_module("inrzip")


def _choose_machine(opts: argparse.Namespace) -> None:
    """Applies --threads and --device. JAX looks at both when it is imported, so this comes before."""
    threads, device = getattr(opts, "threads", None), getattr(opts, "device", None)
    if threads is not None:
        if hasattr(os, "sched_setaffinity"):
            # The one limit that the thread pools of XLA, BLAS and the media libraries all heed.
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        if threads == 1:
            os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_ONE_THREAD_FLAG}".strip()
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif device == "gpu":
        # JAX's own choice is a GPU if there is one. Naming "gpu" would fail wherever one make of GPU is not installed.
        os.environ.pop("JAX_PLATFORMS", None)
        if importlib.import_module("jax").default_backend() != "gpu":
            raise InrzipError("--device gpu: JAX finds no GPU; install JAX for your GPU, or leave --device out")


def _attempt(opts: argparse.Namespace, name: str, job: Callable[[], object]) -> Outcome:
    """Runs one job on the file `name`; a failure is told on stderr and becomes the result."""
    try:
        return True, job()
    except (KeyboardInterrupt, BrokenPipeError, UsageError):
        raise
    except BaseException as error:  # extension modules raise panics that are no Exception
        others = [getattr(opts, option, None) for option in ("output", "against")]
        files = [streams.shown_name(name), *(other for other in others if other)]
        line = reports.error_text(error, opts.verb, files, opts.verbose)
        console.print_error(line)
        if opts.verbose and not isinstance(error, InrzipError):
            import traceback

            traceback.print_exception(error)
        return False, {"source": streams.shown_name(name), "error": line}


def _finish(opts: argparse.Namespace, outcomes: Sequence[Outcome], several: bool = False) -> int:
    if opts.json:
        results = [result for _, result in outcomes]
        print(reports.json_text(results if several else results[0]))
    return DONE if all(done for done, _ in outcomes) else FAILED


def _says(opts: argparse.Namespace) -> bool:
    return not opts.quiet and not opts.json


def _say(opts: argparse.Namespace, text: str, to_stdout: bool = False) -> None:
    """Prints a summary: on stderr where stdout carries a file's bytes."""
    if _says(opts):
        print(text, file=sys.stderr if to_stdout else sys.stdout, flush=True)


def _refuse_mixture(opts: argparse.Namespace, to_stdout: bool) -> None:
    if to_stdout and opts.json:
        raise UsageError(f"inrzip {opts.verb}", "--json and a file cannot both go to standard output; use -o FILE")


# --- compress --------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Target:
    """Where a file goes: None is standard output. `how`: arguments of `compress` that say so."""

    path: Path | None
    label: str
    how: dict[str, object]


def _call_compress(
    opts: argparse.Namespace, path: Path, target: Path, to: _Target, stop: Callable[[], bool]
) -> reports.CompressReport:
    with console.progress_display(to.label, shown=_says(opts)) as progress:
        report: reports.CompressReport = _api().compress(
            path,
            target,
            recipe=opts.recipe,
            codec=opts.codec,
            quality=opts.quality,
            target_size=opts.target_size,
            target_bpp=opts.target_bpp,
            target_psnr=opts.target_psnr,
            effort=opts.effort,
            time_limit=opts.time,
            audio=opts.audio,
            settings=dict(opts.settings),
            lossless=opts.lossless,
            prior=opts.prior,
            kind=opts.kind,
            progress=progress,
            stop=stop,
            **to.how,
        )
    return report


def _compress_one(opts: argparse.Namespace, source: str, to: _Target, stop: Callable[[], bool]) -> object:
    """Compresses one input and prints its summary."""
    destination, to_stdout = to.path, to.path is None
    with contextlib.ExitStack() as stack:
        if destination is None:
            streams.refuse_terminal()
            destination = stack.enter_context(streams.temporary_folder()) / ("stdout" + streams.EXTENSION)
        path = stack.enter_context(streams.input_file(source))
        if source == streams.STREAM and stop():
            # Ctrl-C ends the process at the other end of the pipe, too: what has come is not the whole signal.
            raise KeyboardInterrupt
        report = _call_compress(opts, path, destination, to, stop)
        if to_stdout:
            streams.send(destination)
    name = streams.STDOUT if to_stdout else str(report.path)
    if "member" in to.how:
        name += f" {to.how['member']}"
    _say(opts, reports.compress_text(report, name, opts.verbose), to_stdout)
    if report.note and _says(opts):
        console.print_error(f"{name}: {report.note}")
    return report.to_json()


def _compress(opts: argparse.Namespace) -> int:
    destinations = streams.destinations(opts.inputs, opts.output)
    _refuse_mixture(opts, None in destinations)
    if not streams.collects(opts.inputs, opts.output):
        return _compress_all(opts, opts.inputs, destinations, [{"overwrite": opts.force}] * len(opts.inputs))
    names = streams.member_names(opts.inputs, "inrzip compress")
    if opts.recipe in ("combiner", "vc-inr", "coin++") and _can_be_together(opts):
        return _compress_together(opts, names, destinations[0])
    ways = [{"member": name, "overwrite": opts.force} for name in names]
    return _compress_all(opts, opts.inputs, destinations, ways)


def _can_be_together(opts: argparse.Namespace) -> bool:
    """Whether nothing is asked for that is each signal's own: a size or quality to reach, for example."""
    wishes = (opts.target_size, opts.target_bpp, opts.target_psnr, opts.time, opts.codec, opts.kind)
    unlike = opts.settings or opts.lossless or streams.STREAM in opts.inputs
    if unlike or any(wish is not None for wish in wishes):
        return False
    from . import together

    return together.are_small(map(Path, opts.inputs))


def _compress_together(opts: argparse.Namespace, names: Sequence[str], destination: Path | None) -> int:
    """Signals that are fitted side by side, into one file."""

    def job() -> object:
        assert destination is not None
        with (
            console.stop_on_interrupt() as stop,
            console.progress_display("", shown=_says(opts)) as progress,
        ):
            report = _api().compress_together(
                list(zip(names, map(Path, opts.inputs), strict=True)), destination, recipe=opts.recipe,
                quality=opts.quality, effort=opts.effort, prior=opts.prior, overwrite=opts.force,
                progress=progress, stop=stop,
            )  # fmt: skip
        _say(opts, reports.together_text(report))
        return report.to_json()

    return _finish(opts, [_attempt(opts, str(destination), job)])


def _append(opts: argparse.Namespace) -> int:
    path, *inputs = opts.inputs
    if opts.name is not None and len(inputs) > 1:
        raise UsageError("inrzip append", "--name is for one input")
    names = streams.member_names(inputs, "inrzip append") if opts.name is None else [opts.name]
    ways: list[dict[str, object]] = [{"member": name, "append": True} for name in names]
    return _compress_all(opts, inputs, [Path(path)] * len(inputs), ways)


def _compress_all(
    opts: argparse.Namespace,
    inputs: Sequence[str],
    destinations: Sequence[Path | None],
    ways: Sequence[dict[str, object]],
) -> int:
    """Compresses each input in its way. Where all go into one file, those after the first that is there are added."""
    outcomes: list[Outcome] = []
    n = len(inputs)
    with console.stop_on_interrupt() as stop:
        for source, destination, how in zip(inputs, destinations, ways, strict=True):
            if stop():
                break
            label = f"{len(outcomes) + 1}/{n} {Path(source).name}" if n > 1 else ""
            begun = "member" in how and any(done for done, _ in outcomes)
            to = _Target(destination, label, {"member": how["member"], "append": True} if begun else how)
            outcomes.append(_attempt(opts, source, functools.partial(_compress_one, opts, source, to, stop)))
    status = _finish(opts, outcomes, several=n > 1)
    if len(outcomes) < n:
        console.print_error(f"interrupted; {n - len(outcomes)} of {n} files were not compressed")
        return INTERRUPTED
    return status


# --- decompress ------------------------------------------------------------------------------------------------------


def _decompress_one(opts: argparse.Namespace, to_stdout: bool) -> object:
    if to_stdout:
        streams.refuse_terminal()
    # Given no output, decompression writes beside its input, in the format of the original. With a copy of the input
    # in a temporary folder, that is a file to pass on to standard output.
    with streams.input_file(opts.inputs[0], as_copy=to_stdout, suffix=streams.EXTENSION) as path:
        if opts.member is None and not to_stdout and _api().is_collection(path):
            return _decompress_members(opts, path)
        with console.progress_display("", shown=_says(opts)) as progress:
            report: reports.DecompressReport = _api().decompress(
                path,
                None if to_stdout else opts.output and Path(opts.output),
                region=opts.region,
                frames=opts.frames,
                scale=opts.scale,
                max_memory=opts.max_memory,
                partial=opts.partial,
                bits=opts.bits,
                member=opts.member,
                overwrite=opts.force,
                progress=progress,
            )
        if to_stdout:
            streams.send(report.path)
    if report.note:
        console.print_error(f"{opts.inputs[0]}: {report.note}")
    _say(opts, reports.decompress_text(report, streams.STDOUT if to_stdout else str(report.path)), to_stdout)
    return report.to_json()


def _decompress_members(opts: argparse.Namespace, path: Path) -> object:
    """All signals of a file of several."""
    with console.progress_display("", shown=_says(opts)) as progress:
        written: list[reports.DecompressReport] = _api().decompress_all(
            path,
            opts.output and Path(opts.output),
            region=opts.region,
            frames=opts.frames,
            scale=opts.scale,
            max_memory=opts.max_memory,
            overwrite=opts.force,
            progress=progress,
        )
    for report in written:
        _say(opts, reports.decompress_text(report, str(report.path)))
    return [report.to_json() for report in written]


def _decompress(opts: argparse.Namespace) -> int:
    to_stdout = opts.output == streams.STREAM or (opts.output is None and opts.inputs[0] == streams.STREAM)
    _refuse_mixture(opts, to_stdout)
    return _finish(opts, [_attempt(opts, opts.inputs[0], functools.partial(_decompress_one, opts, to_stdout))])


# --- info, verify, recipes -------------------------------------------------------------------------------------------


def _named(facts: dict[str, object], name: str) -> dict[str, object]:
    """`facts` of the file that was given, not of its copy: of standard input the user knows no copy."""
    return {key: streams.shown_name(name) if key == "file" else value for key, value in facts.items()}


def _info(opts: argparse.Namespace) -> int:
    def job() -> object:
        with streams.input_file(opts.inputs[0], suffix=streams.EXTENSION) as path:
            facts = _named(_api().info(path, opts.member), opts.inputs[0])
        _say(opts, reports.facts_text(facts))
        return facts

    return _finish(opts, [_attempt(opts, opts.inputs[0], job)])


def _verify(opts: argparse.Namespace) -> int:
    def job() -> object:
        against = None if opts.against is None else Path(opts.against)
        with streams.input_file(opts.inputs[0], suffix=streams.EXTENSION) as path:
            facts = _named(_api().verify(path, against, opts.member), opts.inputs[0])
        name = console.one_line(streams.shown_name(opts.inputs[0]))
        _say(opts, f"{name}: OK\n{reports.facts_text(facts, indent=2)}".rstrip())
        return facts

    return _finish(opts, [_attempt(opts, opts.inputs[0], job)])


def _recipes(opts: argparse.Namespace) -> int:
    def job() -> object:
        recipes, codecs = list(_api().recipe_list()), list(_api().codec_list())
        _say(opts, reports.recipes_text(recipes, codecs))
        return {
            "recipes": [reports.recipe_facts(recipe) for recipe in recipes],
            "codecs": [{"name": codec.name, "summary": codec.summary} for codec in codecs],
        }

    return _finish(opts, [_attempt(opts, "recipes", job)])


# --- view, export-viewer ---------------------------------------------------------------------------------------------


def _view(opts: argparse.Namespace) -> int:
    def job() -> object:
        try:
            from .viewer.server import listen, serve
        except ImportError as error:
            raise InrzipError(f"{error.name} is not installed, which view needs: pip install 'inrzip[view]'") from None
        from .viewer.signals import open_files

        against = None if opts.against is None else Path(opts.against)
        signals = open_files([Path(name) for name in opts.inputs], opts.member, against)
        for viewed in signals:
            if viewed.error:
                console.print_error(viewed.error)
        listening = listen(opts.port)

        def started(address: str) -> None:
            if opts.json:
                print(reports.json_text({"address": address}), flush=True)
            else:
                _say(opts, f"{address}  (Ctrl-C ends)")
            if not opts.no_browser:
                import webbrowser

                if not webbrowser.open(address):
                    console.print_error("no browser was found; open the address above in one")

        try:
            serve(signals, listening, started)
        except console.Terminated:
            raise
        except KeyboardInterrupt:  # the usual end
            pass
        return None

    done, _ = _attempt(opts, opts.inputs[0], job)
    return DONE if done else FAILED


def _export_viewer(opts: argparse.Namespace) -> int:
    def job() -> object:
        from .viewer.export import export_page

        report = export_page(Path(opts.inputs[0]), opts.output and Path(opts.output), opts.member, opts.force)
        _say(opts, f"{console.one_line(str(report.page))}  {format_size(report.bytes)}")
        return report

    return _finish(opts, [_attempt(opts, opts.inputs[0], job)])


# --- train-prior -----------------------------------------------------------------------------------------------------


def _train_prior(opts: argparse.Namespace) -> int:
    if opts.output is None:
        raise UsageError("inrzip train-prior", "a name for the prior is missing (-o NAME)")

    def job() -> object:
        with (
            console.stop_on_interrupt() as stop,
            console.progress_display("", shown=_says(opts)) as progress,
        ):
            if opts.large and opts.recipe == "combiner":
                if opts.start is not None or opts.meta:
                    option = "--meta" if opts.meta else "--start"
                    raise UsageError("inrzip train-prior", f"{option} is not for --large of combiner")
                report = _api().train_field_prior(
                    opts.inputs[0], opts.output, opts.kind, patches=opts.patches, rounds=opts.rounds,
                    overwrite=opts.force, progress=progress, stop=stop,
                )  # fmt: skip
            else:
                report = _api().train_prior(
                    opts.inputs[0], opts.output, opts.kind, recipe=opts.recipe, large=opts.large,
                    meta=opts.meta, start=opts.start, patches=opts.patches, rounds=opts.rounds, overwrite=opts.force,
                    progress=progress, stop=stop,
                )  # fmt: skip
        _say(opts, reports.training_text(report))
        return report.to_json()

    return _finish(opts, [_attempt(opts, opts.inputs[0], job)])


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "compress": _compress,
    "append": _append,
    "decompress": _decompress,
    "info": _info,
    "verify": _verify,
    "recipes": _recipes,
    "view": _view,
    "export-viewer": _export_viewer,
    "train-prior": _train_prior,
}
