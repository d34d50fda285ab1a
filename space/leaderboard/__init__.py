"""The leaderboard tab."""
