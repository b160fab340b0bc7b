"""What `penstock doctor` looks at: each module finds facts and says what is wrong with them; none of them raises."""
