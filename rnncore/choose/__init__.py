"""Which cell, size and learning rate suit a task: `rnncore choose`, and the tasks of your own that it takes."""

from .task import Batch, Task

__all__ = ["Batch", "Task"]
