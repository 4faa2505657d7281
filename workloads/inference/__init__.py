"""The inference replica: one signed model on ONNX Runtime, behind the Open Inference Protocol and OpenAI's completions."""
