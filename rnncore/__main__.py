"""`python -m rnncore` is the command `rnncore`."""

from .cli import main

raise SystemExit(main())
