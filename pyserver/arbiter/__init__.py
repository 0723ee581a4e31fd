"""The parent process: it owns the listeners, supervises the workers, and never imports the application."""
