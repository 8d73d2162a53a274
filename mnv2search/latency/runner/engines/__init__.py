"""How each runtime loads an artifact and runs it: one module a runtime, each with `version` and `load`.

`version() -> str` is the version of the runtime; `load(folder, settings) -> Loaded` loads the files of an artifact.
`settings` are JSON values: ``threads``, ``batch``, ``size`` (height and width in px), ``precision`` and what else the
runtime asks for.
Both raise `EngineError` where the runtime is missing or refuses.
"""
