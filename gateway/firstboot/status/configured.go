package status

import "github.com/openpf9/openpf9/gateway/firstboot/settings"

// NotKnown is the state of a vCenter of which only the configuration tells,
// because the daemon does not answer.
const NotKnown = "not known"

// Configured is what the daemon's configuration has of what may also be typed at
// the deployment: enrolment and pairing by command write it there.
type Configured struct {
	DU       string    // "https://du.example"
	Proxy    string    // URL
	VCenters []VCenter // name and address, with the state [NotKnown]
}

// Over fills in what the appliance's settings leave open.
func (c Configured) Over(s settings.Settings) settings.Settings {
	if s.DU == "" {
		s.DU = c.DU
	}
	if s.Proxy == "" {
		s.Proxy = c.Proxy
	}
	return s
}

// configured asks for the configuration of now.
func (o Options) configured() Configured {
	if o.Configured == nil {
		return Configured{}
	}
	return o.Configured()
}
