"""What is done with a trained cascade: average regions, evaluation, prediction."""
