"""From a trained model to files that other programs run, each proven against the model before it is written."""
