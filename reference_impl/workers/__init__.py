"""The Worker: the brief's API with its bindings, access control, retries and OpenAPI description; and its isolates."""
