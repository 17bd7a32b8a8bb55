module real-clients/http

go 1.24
