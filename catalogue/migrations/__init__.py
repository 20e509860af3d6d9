"""Numbered SQL files, oldest first; a file that has been applied is never changed."""
