"""Local Python models: any callable, in worker processes of its own, with batches that grow with the load.

    Local        what the user declares: where the model is loaded, and how it is run
    LocalPool    the same, running: a queue, workers, and what happens when one dies
    child        the program that a worker process runs: loads the model, answers batches

Nothing is pickled, neither models nor values: a worker imports the user's file by itself, and values cross as JSON.
"""
