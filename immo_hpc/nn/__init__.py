"""Modules and losses; nothing here touches files."""
