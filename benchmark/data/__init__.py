"""Data sets: tasks, files and the simulator behind one interface."""

from benchmark.data.source import TaskSource, closed_test, find_tasks, load_task
from benchmark.data.task import Task, find_task, known_tasks

__all__ = ["Task", "TaskSource", "closed_test", "find_task", "find_tasks", "known_tasks", "load_task"]
