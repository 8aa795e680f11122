"""Workspaces as git remotes over HTTP: ``pyi serve``, and an ASGI app to mount elsewhere (`app.create_app`)."""
