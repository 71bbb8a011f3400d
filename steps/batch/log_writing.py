"""Copying of scored rows to the prediction log."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
from sqlalchemy.exc import SQLAlchemyError

from serving.batch.output import added_columns
from serving.errors import LogUnavailableError, one_line
from serving.log.database.engine import connect
from serving.log.database.migrations import upgrade
from serving.log.write_request import WriteRequest
from serving.log.writer import LogWriter
from serving.model.prediction import Prediction, parse_entity_id
from serving.settings import read_log_settings
from steps.batch.champion_scorer import ChampionScorer

logger = logging.getLogger("ml-pipes")

SOURCE = "score_batch"
ROWS_PER_TRANSACTION = 10_000


def write_to_log(folder: Path, uri: str, champion: ChampionScorer) -> None:
    """Write the scored rows in `folder` to the prediction log.

    Rows that an earlier attempt logged are skipped.

    Raises:
        LogUnavailableError: the log is unavailable.
    """
    engine = connect(uri)
    writer = LogWriter(engine, read_log_settings().features)
    written, created_at = 0, datetime.now(UTC)
    try:
        upgrade(engine)
        for file in sorted(folder.glob("part-*.parquet")):
            for batch in pa.parquet.ParquetFile(file).iter_batches(ROWS_PER_TRANSACTION):
                request = WriteRequest(_predictions(batch, champion), champion.identity, SOURCE)
                request.created_at = created_at
                writer.insert_missing(writer.encode(request))
                written += batch.num_rows
            logger.info("%s predictions written to the log", f"{written:,}")
    except SQLAlchemyError as error:
        raise LogUnavailableError(
            f"the prediction log is unavailable: {one_line(error)}; run the same command to resume"
        ) from error
    finally:
        writer.close()
        engine.dispose()


def _predictions(batch: pa.RecordBatch, champion: ChampionScorer) -> list[Prediction]:
    scorer = champion.scorer
    features = scorer.schema.parse_batch(batch).to_dicts()
    column = scorer.manifest.id_column
    has_ids = column in batch.schema.names
    ids = batch[column].to_pylist() if has_ids else [None] * batch.num_rows
    columns = (batch[name].to_pylist() for name in added_columns(batch.schema.names)[:3])
    return [
        Prediction(
            prediction_id=prediction_id,
            row_index=int(prediction_id[24:], 16),
            entity_id=parse_entity_id(id_, row, column),
            score=score,
            label=label,
            threshold=scorer.manifest.threshold,
            features=values,
            model_version=champion.identity.version,
        )
        for row, (prediction_id, score, label, id_, values) in enumerate(
            zip(*columns, ids, features, strict=True)
        )
    ]
