"""What a hospital answered and asked, for good: budgets, stored answers, stored counts."""
