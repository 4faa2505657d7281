"""A trained model made small: structured pruning, int8 weights and ONNX, behind the recipe's gate."""
