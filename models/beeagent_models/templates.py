"""Renders HTML and SVG templates with escaped values."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, **values: object) -> str:
    """Render a Jinja template.

    Args:
        package: package with the template.
        template: file name of the template.
        values: variables of the template.
    """
    loader = PackageLoader(package, ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**values)
