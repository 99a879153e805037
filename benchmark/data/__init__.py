"""Data sets: file formats, checks and the simulator."""

from benchmark.data.source import TASKS, TaskSource, find_tasks, load_task

__all__ = ["TASKS", "TaskSource", "find_tasks", "load_task"]
