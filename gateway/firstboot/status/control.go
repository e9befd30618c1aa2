package status

// Control is how much of one vCenter the deployment unit may do something with, as
// the daemon's GET and POST /v1/vcenters/{name}/control say it.
type Control struct {
	Name string `json:"name"`
	// Mode is "open", "read-only" or "off"; empty: control is not delegated.
	Mode string `json:"mode,omitempty"`
	// Clusters are those that are delegated and there, Hosts the delegated hosts that
	// are in no cluster, VMs how many are in all of them.
	Clusters []string `json:"clusters"`
	Hosts    []string `json:"hosts,omitempty"`
	VMs      int      `json:"vms"`
	// Kept are the VMs in them that are never delegated, as in VCenter.
	Kept []string `json:"never_delegated,omitempty"`
	// Broker is where programs on this machine reach the vCenter; empty: nowhere.
	Broker string `json:"broker,omitempty"`
	// BrokerSecret and BrokerCA are the files with the password of the user openstack
	// there, and with the certificate to trust; empty: there is no broker.
	BrokerSecret string `json:"broker_secret,omitempty"`
	BrokerCA     string `json:"broker_ca,omitempty"`
	// Problem is why it is less than was configured, or why nothing of it can be done
	// now; empty: neither is so.
	Problem string `json:"problem,omitempty"`
	// Remedy is the command that delegates more; empty: nothing is wanting.
	Remedy string `json:"remedy,omitempty"`
}
