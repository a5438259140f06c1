"""The HTTP server: engines, decoders over them, and the OpenAI API. It imports `decoders` and nothing else of ours."""
