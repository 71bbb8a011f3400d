"""Tables of the prediction log."""

from datetime import UTC, datetime

import sqlalchemy as sa

from serving.model.prediction import LONGEST_IDENTIFIER


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A point in time: in Python always aware and in UTC."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _: sa.Dialect) -> datetime | None:
        """Return `value` in UTC: SQLite keeps no time zone."""
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _: sa.Dialect) -> datetime | None:
        """Return `value` with its time zone."""
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


metadata = sa.MetaData()

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", sa.String(36), primary_key=True),
    sa.Column("request_id", sa.String(LONGEST_IDENTIFIER)),
    sa.Column("row_index", sa.Integer, nullable=False),
    sa.Column("entity_id", sa.String(LONGEST_IDENTIFIER)),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("model_name", sa.String(LONGEST_IDENTIFIER)),
    sa.Column("model_version", sa.String(32)),
    sa.Column("run_id", sa.String(64)),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),  # the predicted one
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("features", sa.JSON(none_as_null=True)),
    sa.Column("source", sa.String(64), nullable=False),
    # Identifies the content of a keyed request whose features are not logged.
    sa.Column("content_digest", sa.String(64)),
)
# Both columns of the order of pages and streams: the rows of a batch have one time.
order_index = sa.Index(
    "ix_predictions_in_order", predictions.c.created_at, predictions.c.prediction_id
)
for _name, _columns in {"request": ["request_id"], "entity": ["entity_id", "created_at"]}.items():
    _is_set = predictions.c[_columns[0]].is_not(None)
    sa.Index(
        f"ix_predictions_by_{_name}",
        *(predictions.c[column] for column in _columns),
        sqlite_where=_is_set,
        postgresql_where=_is_set,
    )

ground_truth = sa.Table(
    "ground_truth",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("prediction_id", sa.String(36), index=True),
    sa.Column("entity_id", sa.String(LONGEST_IDENTIFIER), index=True),
    sa.Column("label", sa.Integer, nullable=False),  # the true one
    sa.Column("observed_at", UtcDateTime, nullable=False),
    sa.Column("recorded_at", UtcDateTime, nullable=False),
)

# Scores of a challenger. A log of version 2 may lack this table: earlier releases did not have it.
shadow_predictions = sa.Table(
    "shadow_predictions",
    metadata,
    sa.Column("prediction_id", sa.String(36), primary_key=True),
    sa.Column("model_version", sa.String(32), primary_key=True),
    sa.Column("score", sa.Double, nullable=False),
    sa.Column("label", sa.Integer, nullable=False),  # the predicted one
    sa.Column("created_at", UtcDateTime, nullable=False, index=True),
)


def has_shadow_predictions(connection: sa.Connection) -> bool:
    """Return whether the log has the table `shadow_predictions`."""
    return sa.inspect(connection).has_table(shadow_predictions.name)


schema_version = sa.Table(
    "schema_version", metadata, sa.Column("version", sa.Integer, nullable=False)
)

# All but what only the writer needs.
READ_COLUMNS = tuple(column for column in predictions.c if column.name != "content_digest")
