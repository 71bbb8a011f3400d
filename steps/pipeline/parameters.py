"""The type of each parameter. Defaults stand in `MLproject` alone."""

from pathlib import Path
from typing import Any

import click
import yaml

PROJECT = Path(__file__).resolve().parents[2]
ENGINE_PREFIX = "train_"


def engine_names() -> list[str]:
    """Return the engines of this project: each entry point `train_NAME` of `MLproject`."""
    project = yaml.safe_load((PROJECT / "MLproject").read_text())
    return [
        name.removeprefix(ENGINE_PREFIX)
        for name in project["entry_points"]
        if name.startswith(ENGINE_PREFIX)
    ]


class CommaList(click.ParamType[list[str]]):
    """Values separated by commas, each once."""

    name = "list"

    def __init__(self, choices: list[str] | None = None) -> None:
        self.choices = choices

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the parts of `value`."""
        parts = list(dict.fromkeys(part.strip() for part in str(value).split(",") if part.strip()))
        if not parts:
            self.fail("must name at least one", param, ctx)
        for part in parts:
            if self.choices and part not in self.choices:
                self.fail(f"{part!r} is not one of {', '.join(self.choices)}", param, ctx)
        return parts


class NonEmpty(click.ParamType[str]):
    """Text that is not empty."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return `value` without surrounding blanks."""
        if not (text := str(value).strip()):
            self.fail("must not be empty", param, ctx)
        return text


PARAMETERS: dict[str, click.ParamType[Any]] = {
    "data": NonEmpty(),
    "target": NonEmpty(),
    "time_column": click.STRING,
    "split": click.Choice(["auto", "temporal", "stratified"]),
    "metric": click.Choice(["ks", "roc_auc", "average_precision"]),
    "engines": CommaList(engine_names()),
    "profile": click.Choice(["full", "quick"]),
    "refit": click.BOOL,
    "promotion": click.Choice(["auto", "better", "always"]),
    "seed": click.IntRange(0, 2**31 - 1),
    "model_name": NonEmpty(),
    "spark_master": NonEmpty(),
    "h2o_url": click.STRING,
    "data_run_id": NonEmpty(),
    "training_run_ids": CommaList(),
    "refit_of": click.STRING,
}
