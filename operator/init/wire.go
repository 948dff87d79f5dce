package main

// What is said between init and the operator. docs/agent.md and operator/homeport/plan/agent.py are the other face of it.

const (
	protocol     = 1
	protocolPath = "/agent/v1"
	payloadLimit = 16 << 20 // bytes of a frame from the operator
	outputLimit  = 256 << 10
	pieceSize    = 32 << 10
	maxExecs     = 16
	maxLogLines  = 1000
)

// features are what this init can do beyond the protocol's first version. The operator asks for nothing that isn't among them.
var features = []string{"processes"}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type file struct {
	Path    string `json:"path"`
	Content []byte `json:"content"` // base64 on the wire
	Mode    uint32 `json:"mode"`
	Secret  bool   `json:"secret"`
}

type hostEntry struct {
	Address string   `json:"address"`
	Names   []string `json:"names"`
}

type userSpec struct {
	UID                *int  `json:"uid,omitempty"`
	GID                *int  `json:"gid,omitempty"`
	FSGroup            *int  `json:"fsGroup,omitempty"`
	SupplementalGroups []int `json:"supplementalGroups,omitempty"`
}

type httpCheck struct {
	Port    int        `json:"port"`
	Path    string     `json:"path"`
	Scheme  string     `json:"scheme"`
	Headers []variable `json:"headers"`
}

type probe struct {
	Exec                []string   `json:"exec,omitempty"`
	TCP                 int        `json:"tcp,omitempty"`
	HTTP                *httpCheck `json:"http,omitempty"`
	InitialDelaySeconds int        `json:"initialDelaySeconds"`
	PeriodSeconds       int        `json:"periodSeconds"`
	TimeoutSeconds      int        `json:"timeoutSeconds"`
	SuccessThreshold    int        `json:"successThreshold"`
	FailureThreshold    int        `json:"failureThreshold"`
	GraceSeconds        *int       `json:"terminationGracePeriodSeconds,omitempty"`
}

type probeSet struct {
	Liveness  *probe `json:"liveness,omitempty"`
	Readiness *probe `json:"readiness,omitempty"`
	Startup   *probe `json:"startup,omitempty"`
}

// program is what one process is started as.
type program struct {
	Name          string     `json:"name"` // empty for the only one
	Env           []variable `json:"env"`
	Files         []file     `json:"files"`
	Command       *[]string  `json:"command,omitempty"`
	Args          *[]string  `json:"args,omitempty"`
	WorkingDir    *string    `json:"workingDir,omitempty"`
	User          userSpec   `json:"user"`
	Probes        probeSet   `json:"probes"`
	RestartPolicy string     `json:"restartPolicy"`
	Run           string     `json:"run"`
	Tries         int        `json:"backoffLimit"`          // of a job, beyond the first
	Deadline      *int       `json:"activeDeadlineSeconds"` // of all of a job's tries together
	Schedule      *string    `json:"schedule,omitempty"`
	TimeZone      *string    `json:"timeZone,omitempty"`
	Suspend       bool       `json:"suspend"`
	GraceSeconds  int        `json:"terminationGracePeriodSeconds"`
	Restart       string     `json:"restart"`
	DependsOn     []string   `json:"dependsOn"`
}

type payload struct {
	program
	Hosts       []hostEntry `json:"hosts"`
	Hostname    string      `json:"hostname"`
	Nameservers []string    `json:"nameservers"`
	Search      []string    `json:"search"`
	Volumes     []string    `json:"volumes"`
	Processes   []program   `json:"processes"` // instead of the one
	// Where Proxmox VE leaves the network to us; else absent.
	Interfaces *[]netInterface `json:"interfaces,omitempty"`
}

// programs are all that it wants to run.
func (p *payload) programs() []*program {
	if len(p.Processes) == 0 {
		return []*program{&p.program}
	}
	out := make([]*program, len(p.Processes))
	for at := range p.Processes {
		out[at] = &p.Processes[at]
	}
	return out
}

// What is sent.

type hello struct {
	Type         string `json:"type"`
	Protocol     int    `json:"protocol"`
	Container    string `json:"container"`
	Claim        string `json:"claim"`
	Credential   string `json:"credential"`
	Instance     string `json:"instance"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	// What it can do that its protocol's first version couldn't.
	Features []string `json:"features"`
}

type endedRun struct {
	StartedAt  string `json:"startedAt"`
	FinishedAt string `json:"finishedAt"`
	ExitCode   int    `json:"exitCode"`
	Reason     string `json:"reason"`
	Message    string `json:"message"`
}

// unitState is how one process is.
type unitState struct {
	Name      string    `json:"name,omitempty"`
	Phase     string    `json:"phase"`
	StartedAt string    `json:"startedAt"`
	Restarts  int       `json:"restarts"`
	Last      *endedRun `json:"last,omitempty"`
	Run       string    `json:"run"`
	Started   bool      `json:"started"`
	Ready     bool      `json:"ready"`
	Unready   string    `json:"unready"`
	NextRun   string    `json:"nextRun"`
}

type state struct {
	Type   string `json:"type"`
	Digest string `json:"digest"`
	Error  string `json:"error"`
	unitState
	Processes []unitState `json:"processes,omitempty"`
}

type output struct {
	Type   string `json:"type"`
	ID     int    `json:"id"`
	Stream string `json:"stream"`
	Data   []byte `json:"data"`
}

type result struct {
	Type     string `json:"type"`
	ID       int    `json:"id"`
	ExitCode int    `json:"exitCode"`
	TimedOut bool   `json:"timedOut"`
	Stdout   []byte `json:"stdout,omitempty"`
	Stderr   []byte `json:"stderr,omitempty"`
	Dropped  int64  `json:"dropped"`
	Error    string `json:"error"`
}

type logTail struct {
	Type  string   `json:"type"`
	ID    int      `json:"id"`
	Lines []string `json:"lines"`
}

// What is received: all frames in one, told apart by Type.

type incoming struct {
	Type    string   `json:"type"`
	Trust   []string `json:"trust"`
	Reason  string   `json:"reason"`
	Digest  string   `json:"digest"`
	Payload *payload `json:"payload"`
	Run     string   `json:"run"`
	ID      int      `json:"id"`
	Lines   int      `json:"lines"`
	Probe   *probe   `json:"probe"`
	execRequest
}

type execRequest struct {
	Process        string     `json:"process"` // whose environment, user and folder; empty is the first
	Command        []string   `json:"command"`
	Env            []variable `json:"env"`
	Stdin          []byte     `json:"stdin"`
	TimeoutSeconds float64    `json:"timeoutSeconds"`
	Limit          int        `json:"limit"`
	Stream         bool       `json:"stream"`
	Root           bool       `json:"root"`
}
