"""The processes of a distributed run: learner, actor, evaluator, replay; and their parts."""
