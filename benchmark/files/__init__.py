"""What people and programs edit: YAML, CSV, JSON, locks and files that are written whole or not at all."""
