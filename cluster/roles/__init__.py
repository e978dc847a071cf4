"""The processes of a distributed run: learner, actor, evaluator, replay; and the actor's parts."""
