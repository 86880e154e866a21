"""A report as documents: `page` (HTML), `paper` (PDF) and `workbook` (XLSX); JSON is its own."""
