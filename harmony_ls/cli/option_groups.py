"""Options that several commands take together, declared once as the fields of a dataclass.

Typer reads the parameters of a function. `grouped` shows it every field of a dataclass as a parameter of its own, and
calls the function with the dataclass. What the options are is said in `options`.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

__all__ = ["grouped"]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, in which each parameter that is annotated with a dataclass is replaced by the dataclass's fields.

    The fields need defaults, and their names must differ from those of the other parameters.
    """
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hints[name] for name in signature.parameters if is_dataclass(hints[name])}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if (group := groups.get(parameter.name)) is None:
            shown = {parameter.name: (hints[parameter.name], parameter.default)}
        else:
            hints_of_group = get_type_hints(group, include_extras=True)
            shown = {field.name: (hints_of_group[field.name], field.default) for field in fields(group)}
        for name, (annotation, default) in shown.items():
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            )

    @functools.wraps(command)
    def run(**given: Any) -> None:
        values = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group) if field.name in given})
            for name, group in groups.items()
        }
        command(**given, **values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
