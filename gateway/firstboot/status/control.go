package status

// Control is how much of one vCenter the deployment unit may do something with, as
// the daemon's GET and POST /v1/vcenters/{name}/control say it.
type Control struct {
	Name string `json:"name"`
	// Mode is "open", "read-only" or "off"; empty: control is not delegated.
	Mode string `json:"mode,omitempty"`
	// Clusters are those that are delegated and there, VMs how many are in them.
	Clusters []string `json:"clusters"`
	VMs      int      `json:"vms"`
	// Kept are the VMs in them that are never delegated, as in VCenter.
	Kept []string `json:"never_delegated,omitempty"`
	// Broker is where programs on this machine reach the vCenter; empty: nowhere.
	Broker string `json:"broker,omitempty"`
	// Problem is why it is less than was configured; empty: it is not.
	Problem string `json:"problem,omitempty"`
	// Remedy is the command that delegates more; empty: nothing is wanting.
	Remedy string `json:"remedy,omitempty"`
}
