"""Renders the templates of HTML pages; what is filled in is escaped."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(package: str, template: str, **values: object) -> str:
    """Render a Jinja template.

    Args:
        package: that contains it.
        template: name of its file.
        values: to fill in, by name.
    """
    loader = PackageLoader(package, ".")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**values)
