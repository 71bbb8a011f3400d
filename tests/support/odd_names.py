"""Names of columns that are words of an engine, a format or SQL, or no words at all."""

ODD_NAMES = (
    "Monthly Charges ($)", 'a "quoted" name', "it's", "größe", "名前", "a.b", "a,b", "[x]", "`y`",
    "V1", "v1", "V 1", "select", "row", "target", "time", "c0", "C1", "prediction_id", "score",
    "label", "prediction", "Probability", "rawPrediction", "features", "p0", "p1", "predict",
    "weight", "fold", "input", "output", "variable", "response", "index", "level_0", "id ",
    "{z}", "a=b", "self", "a\\b", "100%", "$\\x$", "x" * 300,
)  # fmt: skip
