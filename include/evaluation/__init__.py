"""How good a model is: its answers, batch transform, figures, report, leaderboard, the accuracy of an endpoint."""
