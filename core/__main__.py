"""The command line: `python -m core ...`, as thin as a page.

With ``--json`` standard output holds one JSON value and nothing else; everything meant for people goes
to standard error. The exit code is 0 only on success.
"""

import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from core.domain.errors import AppError, FormatError, pick
from core.domain.runs import Job, Run
from core.domain.training import TrainingConfig
from core.services import (
    card_writing,
    checkpoints,
    evaluation,
    model_card,
    prediction,
    predictors,
    projects,
    recipes,
    reports,
    start_weights,
    training,
    workers,
)
from core.services.home import Store, open_home

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
T = TypeVar("T")

ProjectOption = Annotated[str, typer.Option("--project", help="The project's name.")]
RunArgument = Annotated[str, typer.Argument(help="A run's id.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value on standard output.")]


@dataclass(frozen=True)
class Wanted:
    """What `train` is to train: a project with a preset, a run again, or on from a checkpoint."""

    project: str | None
    preset: str | None
    repeated: str | None
    continued: str | None

    def __post_init__(self) -> None:
        """Check that the options go together. Raises FormatError."""
        if self.repeated and self.continued:
            raise FormatError("Choose one: --from repeats a run, --continue starts from its weights.")
        if self.preset and (self.repeated or self.continued):
            raise FormatError("--preset goes without --from and --continue: they take the run's settings.")
        if not (self.project or self.repeated):
            raise FormatError("Name the project: --project NAME.")


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder, a zip or a photo.")],
    project: ProjectOption,
    format: Annotated[str, typer.Option(help="auto, or a name that `formats` lists.")] = "auto",
    classes: Annotated[
        str, typer.Option(help="What mask values mean: 0=background,1=scratch,255=ignore.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Import photos and labels; the project is made if there is none of this name."""
    store = open_home()
    if not path.exists():
        raise FormatError(f"{path} does not exist.")
    report = projects.import_into(
        store, project, path, format=format, classes=classes, on_progress=_counter("photos")
    )
    _answer(as_json, report.to_json(), reports.import_lines(report))
    if report.refused and not (report.already_there or any(report.images.values())):
        raise AppError("Nothing was imported: every file was refused.")


@app.command()
def sample(project: ProjectOption, as_json: JsonOption = False) -> None:
    """Fill a project with drawn photos of damaged car panels, labelled and split."""
    report = projects.create_sample(open_home(), project, _counter("photos"))
    _answer(as_json, report.to_json(), reports.import_lines(report))


@app.command()
def train(
    project: Annotated[
        str | None, typer.Option("--project", help="The project's name; --from needs none.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="A name that `presets` lists; fast by default.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value, as often as needed.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Repeat this run: its labels, settings and seed.")
    ] = None,
    continue_: Annotated[
        str | None, typer.Option("--continue", help="RUN or RUN:EPOCH, whose weights to start from.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="A state dict's file, to start from.")] = None,
    priority: Annotated[int, typer.Option(help="Of the runs that wait, the highest starts first.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Return when the run is over.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Queue a training on the labels as they are now; prints the run's id.

    --from repeats a run on the labels it was trained on; --continue starts a new run on the labels of
    now with the weights and settings of a checkpoint, the best epoch by default.
    """
    store = open_home()
    changes: dict[str, str | int | float | bool] = dict(_pair(text) for text in set_ or [])
    if epochs is not None:
        changes["epochs"] = epochs
    if weights is not None:
        changes["start_weights"] = start_weights.keep(store, weights.name, weights).sha256
    run, warnings = _queued(store, Wanted(project, preset, from_, continue_), changes, priority)
    if wait:
        run = workers.wait(
            store,
            lambda: training.get_run(store, run.id),
            evaluation.is_over,
            _told_once(lambda r: reports.progress_line(r, training.waiting_reason(store, r))),
            lane="run",
        )
    _answer(
        as_json,
        {"run": run.id, "state": run.state.value, "error": run.error, "warnings": list(warnings)},
        [run.id],
    )
    if wait:
        evaluation.require_done(run)


@app.command()
def worker(
    once: Annotated[bool, typer.Option("--once", help="Work off what is queued, then return.")] = False,
    lane: Annotated[
        list[str] | None, typer.Option("--lane", help="run or job: serve only this; repeat it for both.")
    ] = None,
    embedded: Annotated[bool, typer.Option("--embedded", hidden=True)] = False,
) -> None:
    """Be a worker process: carry out queued runs and jobs."""
    from core.worker.supervisor import LANES, run_worker  # only a worker needs it

    for name in lane or ():
        pick(LANES, name, kind="lane")
    lanes = tuple(name for name in LANES if name in lane) if lane else tuple(LANES)
    run_worker(open_home(), once=once, embedded=embedded, lanes=lanes)


@app.command("workers")
def workers_(as_json: JsonOption = False) -> None:
    """List the workers: what they offer, what they use, what they carry out."""
    listed = reports.workers_json(open_home())
    _answer(as_json, listed, reports.worker_lines(listed))


@app.command()
def runs(project: ProjectOption, as_json: JsonOption = False) -> None:
    """List a project's runs with their epochs, metrics and the champion."""
    store = open_home()
    target = projects.by_name(store, project)
    listed = reports.runs_json(store, target.id)
    _answer(as_json, listed, reports.run_lines(listed))


@app.command()
def resume(run: RunArgument, as_json: JsonOption = False) -> None:
    """Queue an interrupted, failed or cancelled run again; it goes on from its last complete epoch."""
    store = open_home()
    wanted = training.get_run(store, run)
    if not training.resume(store, wanted.id):
        raise AppError(f"“{wanted.name}” is {wanted.state.value}; there is nothing to resume.")
    _answer_state(store, wanted.id, as_json)


@app.command()
def cancel(run: RunArgument, as_json: JsonOption = False) -> None:
    """Stop a run: a waiting one at once, a running one at its next batch."""
    store = open_home()
    wanted = training.get_run(store, run)
    if training.cancel(store, wanted.id) is None:
        raise AppError(f"“{wanted.name}” is over already: {wanted.state.value}.")
    _answer_state(store, wanted.id, as_json)


@app.command()
def log(run: RunArgument, as_json: JsonOption = False) -> None:
    """Print the end of a run's log, wherever it ran."""
    store = open_home()
    wanted = training.get_run(store, run)
    text = training.log_tail(store, wanted.id)
    _answer(as_json, {"run": wanted.id, "log": text}, text.splitlines())


@app.command()
def evaluate(
    run: RunArgument,
    epoch: Annotated[str, typer.Option(help="best, last or a number.")] = "best",
    split: Annotated[str, typer.Option(help="valid or test (or train).")] = "valid",
    masks: Annotated[Path | None, typer.Option(help="Write predicted index PNGs into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a checkpoint on a split of the data it was made from, at the photos' own size."""
    store = open_home()
    wanted = training.get_run(store, run)
    number = evaluation.resolve_epoch(store, wanted, epoch).epoch
    job = evaluation.evaluate(store, wanted, number, split, masks=masks is not None)
    done = _carried_out(store, job)
    result = reports.evaluation_json(store, wanted, number, split, done.result or {}, masks)
    _answer(as_json, result, reports.evaluation_lines(result))


@app.command()
def promote(
    run: RunArgument,
    epoch: Annotated[str, typer.Argument(help="best, last or a number.")],
    note: Annotated[str, typer.Option(help="Why this one.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Make a checkpoint its project's champion: what `predict` uses."""
    store = open_home()
    wanted = training.get_run(store, run)
    chosen = evaluation.promote(
        store, wanted, evaluation.resolve_epoch(store, wanted, epoch).epoch, note=note
    )
    _answer(
        as_json,
        {"run": chosen.run_id, "epoch": chosen.epoch, "note": chosen.note},
        [f"Epoch {chosen.epoch} of {wanted.name} is the champion."],
    )


@app.command()
def card(
    run: Annotated[str, typer.Argument(help="A run's id, or champion with --project.")],
    epoch: Annotated[str, typer.Option(help="best, last or a number; the champion has its own.")] = "best",
    project: Annotated[str | None, typer.Option("--project", help="Whose champion.")] = None,
    html: Annotated[bool, typer.Option("--html/--md", help="One HTML file, or Markdown.")] = True,
    out: Annotated[Path | None, typer.Option(help="The file to write; else it is printed.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the model card of a checkpoint: its data, settings, figures and known failures."""
    store = open_home()
    wanted, number = _champion(store, project) if run == "champion" else _checkpoint(store, run, epoch)
    found = model_card.build(store, wanted, number)
    text = card_writing.html(found) if html else card_writing.markdown(found)
    if out is not None:
        card_writing.write(out, text)
    value = {"run": wanted.id, "epoch": number, **({"file": str(out)} if out else {"card": text})}
    _answer(as_json, value, [f"Written to {out}." if out else text])


@app.command()
def predict(
    photos: Annotated[list[Path], typer.Argument(help="Photos.")],
    project: ProjectOption,
    run: Annotated[str | None, typer.Option(help="A run's id; the champion's by default.")] = None,
    epoch: Annotated[str | None, typer.Option(help="best (default), last or a number, with --run.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for masks and overlays.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Find damage on photos; writes a mask and an overlay of each. Without a champion: the best epoch."""
    store = open_home()
    target = projects.by_name(store, project)
    if run is None and epoch is not None:
        raise FormatError("--epoch goes with --run; without both, the champion predicts.")
    if run is None:
        wanted, number = evaluation.checkpoint_to_show(store, target.id)
    else:
        wanted = training.get_run(store, run)
        number = evaluation.resolve_epoch(store, wanted, epoch or "best").epoch
    if not predictors.is_ready(store, wanted.id, number):
        _carried_out(store, evaluation.prepare(store, wanted, number))
    folder = out or store.home / "predictions" / f"{wanted.id}-epoch-{number}"
    results: list[dict[str, Any]] = []
    failures = 0
    with workers.ensured(store, "job") as ensure:
        if slower := predictors.note(store, wanted, number):
            _say(slower)
            ensure()
        for photo, stem in zip(photos, reports.unique_stems(photos), strict=True):
            try:
                data = reports.read_photo(photo)
                found = prediction.predict_photo(store, wanted, number, str(photo), data)
                results.append(prediction.write_files(store, found, folder, stem))
            except FormatError as error:
                failures += 1
                _say(f"{photo}: {error}")
    _answer(as_json, results, reports.prediction_lines(results))
    if failures:
        raise AppError(f"{failures} of {len(photos)} photos could not be read.")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="The folder to write.")],
    project: ProjectOption,
    format: Annotated[str, typer.Option(help="A name that `formats` lists.")] = "coco",
    photos: Annotated[bool, typer.Option(help="Copy the photos beside the labels.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Write a project's labels, with the photos beside them."""
    store = open_home()
    target = projects.by_name(store, project)
    folder = projects.export(store, target.id, out, format=format, with_photos=photos)
    _answer(as_json, {"folder": str(folder)}, [f"Written to {folder}."])


@app.command()
def presets(as_json: JsonOption = False) -> None:
    """List the recipes to train with."""
    listed = [{"name": name, **asdict(preset)} for name, preset in recipes.presets().items()]
    _answer(as_json, listed, [f"{p['name']:12} {p['title']}: {p['description']}" for p in listed])


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the networks with the encoders they were tested on; each takes sides of a multiple of a number."""
    listed = recipes.architectures()
    lines = [f"{m.name:20} {m.title} (x {m.size_multiple} px): {', '.join(m.encoders)}" for m in listed]
    _answer(as_json, [asdict(m) for m in listed], lines)


@app.command()
def formats(as_json: JsonOption = False) -> None:
    """List the label formats."""
    listed = [{"name": name, "title": title} for name, title in projects.formats().items()]
    _answer(as_json, listed, [f"{f['name']:12} {f['title']}" for f in listed])


def _queued(
    store: Store, wanted: Wanted, changes: Mapping[str, str | int | float | bool], priority: int
) -> tuple[Run, tuple[str, ...]]:
    """Queue what is wanted; give the run, and what to know about its data, said already."""
    target = projects.by_name(store, wanted.project) if wanted.project else None
    if wanted.repeated:
        original = training.get_run(store, wanted.repeated)
        if target is not None and target.id != original.project_id:
            raise FormatError(f"“{original.name}” is not a run of the project “{target.name}”.")
        return training.repeat(store, original.id, changes, priority=priority), ()
    assert target is not None, "Wanted has checked it"
    if wanted.continued:
        config = training.reconfigure(_start_config(store, wanted.continued), changes)
    else:
        config = training.configure(wanted.preset or "fast", changes)
    data = training.collect(store, target.id, config)
    warnings = (*data.warnings, *filter(None, [recipes.memory_note(store, config, len(data.categories))]))
    for warning in warnings:
        _say(warning)
    return training.start_run(store, target.id, config, priority=priority), warnings


def _champion(store: Store, project: str | None) -> tuple[Run, int]:
    if project is None:
        raise FormatError("Name the project whose champion is meant: --project NAME.")
    chosen = evaluation.champion(store, projects.by_name(store, project).id)
    if chosen is None:
        raise AppError(f"“{project}” has no champion yet: promote one.")
    return training.get_run(store, chosen.run_id), chosen.epoch


def _checkpoint(store: Store, run_id: str, epoch: str) -> tuple[Run, int]:
    run = training.get_run(store, run_id)
    return run, evaluation.resolve_epoch(store, run, epoch).epoch


def _start_config(store: Store, text: str) -> TrainingConfig:
    run_id, _, epoch = text.partition(":")
    run = training.get_run(store, run_id)
    found = evaluation.resolve_epoch(store, run, epoch or "best")
    return checkpoints.continued(store, run, found.epoch)


def _answer_state(store: Store, run_id: str, as_json: bool) -> None:
    run = training.get_run(store, run_id)
    _answer(as_json, {"run": run.id, "state": run.state.value}, [f"{run.name}: {run.state.value}"])


def _carried_out(store: Store, job: Job) -> Job:
    def obstacle(job: Job) -> str:
        return "" if job.state.is_active or job.state.is_final else workers.obstacle(store, "job")

    done = workers.wait(
        store, lambda: evaluation.job(store, job.id), evaluation.is_over, _told_once(obstacle)
    )
    return evaluation.require_done(done)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign:
        raise FormatError(f"--set takes key=value, not “{text}”.")
    return key.strip(), value


def _answer(as_json: bool, value: object, lines: list[str]) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2) if as_json else "\n".join(lines)
    typer.echo(text)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _counter(what: str) -> Callable[[int, int], None]:
    def show(done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            typer.echo(f"\r{done} of {total} {what}", err=True, nl=done == total)

    return show


def _told_once(line_of: Callable[[T], str]) -> Callable[[T], None]:
    """Say what there is to say of some work, whenever that is something else."""
    last = ""

    def show(work: T) -> None:
        nonlocal last
        line = line_of(work)
        if line and line != last:
            _say(line)
        last = line

    return show


def main() -> None:
    """Run the command line; an AppError is one sentence on standard error and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        app(standalone_mode=True)
    except AppError as error:
        _say(str(error))
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
