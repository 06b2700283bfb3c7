"""The OTLP intake as OpenTelemetry's own Python SDK sees it.

    python otlp_send.py ENDPOINT CA_CERT CERT KEY HOST COUNT

Sends COUNT failed logins as log records of HOST, in batches, compressed with gzip; then one record as another host. Ends with 0
when every batch of the first was taken and the last was refused.
"""

import datetime
import sys

import grpc
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult
from opentelemetry.sdk.resources import Resource

ENDPOINT, CA_CERT, CERT, KEY, HOST = sys.argv[1:6]
COUNT = int(sys.argv[6])


def read(path):
    with open(path, "rb") as file:
        return file.read()


class Exporter(OTLPLogExporter):
    """Remembers what it was answered."""

    def __init__(self):
        credentials = grpc.ssl_channel_credentials(read(CA_CERT), read(KEY), read(CERT))
        super().__init__(endpoint=ENDPOINT, credentials=credentials, compression=grpc.Compression.Gzip, timeout=60)
        self.answers = []

    def export(self, batch):
        answer = super().export(batch)
        self.answers.append(answer)
        return answer


def send(host, bodies):
    exporter = Exporter()
    provider = LoggerProvider(Resource({"host.name": host, "service.name": "sshd"}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter, max_export_batch_size=100))
    logger = provider.get_logger("otlp_send")
    for number, body in enumerate(bodies):
        logger.emit(
            LogRecord(
                body=body,
                severity_number=SeverityNumber.WARN,
                severity_text="WARN",
                attributes={"number": number},
            )
        )
    provider.force_flush()
    provider.shutdown()
    return exporter.answers


def failed_login(number):
    """As sshd's line stands in a file: an RFC 5424 header, then its message."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    return f"<38>1 {now} {HOST} sshd 42 - - Failed password for root from 203.0.113.7 port {1024 + number} ssh2"


taken = send(HOST, map(failed_login, range(COUNT)))
assert taken and all(answer is LogRecordExportResult.SUCCESS for answer in taken), taken
refused = send("another-" + HOST, ["not mine"])
assert refused == [LogRecordExportResult.FAILURE], refused
