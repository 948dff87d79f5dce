module homeport.dev/init

go 1.26

require (
	github.com/coder/websocket v1.8.14
	github.com/robfig/cron/v3 v3.0.1
	golang.org/x/sys v0.38.0
)
