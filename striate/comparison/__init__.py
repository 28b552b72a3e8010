"""The regimes of transfer learning beside one another, under one budget: :func:`striate.comparison.comparing.compare`."""
