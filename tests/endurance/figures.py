"""What a scenario tells."""

Figures = dict[str, object]
