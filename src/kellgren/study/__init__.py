"""What judges models: metrics, intervals, comparisons. Never imported by the way of a radiograph."""
